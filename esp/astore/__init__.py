"""The model binary and what it means: graph, inputs and outputs, preprocessing, and the file that holds them."""
