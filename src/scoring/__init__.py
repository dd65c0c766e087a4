"""From predictions to numbers: metrics, calibration, tables. Works on arrays, not files."""
