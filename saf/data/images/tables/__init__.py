"""Tables and lists in text files beside images: which classes and splits they say."""
