"""From photos to decisions: what predict, export and serve share. Needs only a bundle."""
