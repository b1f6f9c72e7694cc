"""Array kernels: they know arrays and addresses, and nothing of graphs, events or Kafka."""
