"""The kill matrix: a stateful query, workers and a broker that are killed by a plan, and a verifier that knows the engine by its topics alone."""
