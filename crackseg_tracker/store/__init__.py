"""The only owner of connections: opening, transactions, forks, creation, the metrics' write path, integrity."""
