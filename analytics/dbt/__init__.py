"""A dbt package for analysts; ``sources.py`` writes its description of the contract. It is no part of the wheel."""
