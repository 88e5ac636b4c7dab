"""Commands about images that have no shorter name: `atoll image VERB`."""
