"""Training: layers build a graph, a tape differentiates it, and a recipe turns data into an astore."""
