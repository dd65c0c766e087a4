"""From predictions to numbers: metrics, calibration, tables. Knows arrays only."""
