"""How arrays become a data set: names, axes, values and labels, decided alike for all formats."""
