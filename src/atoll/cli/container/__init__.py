"""The commands `atoll container …` that have no short form."""
