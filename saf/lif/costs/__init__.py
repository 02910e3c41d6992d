"""What a converted network costs: operations, energy, the numbers of NeuroBench."""
