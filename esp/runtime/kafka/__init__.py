"""The Kafka connector, over aiokafka: records travel as columns, from the socket to the worker and back."""
