"""Header and sha256 of very many files: workers, and what is remembered between scans."""
