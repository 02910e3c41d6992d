"""Networks of LIF neurons: conversion, certificate, energy."""
