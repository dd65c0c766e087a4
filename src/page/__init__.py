"""From figures and tables to one HTML page. Text from outside is escaped wherever it stands."""
