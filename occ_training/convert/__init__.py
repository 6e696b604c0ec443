"""From data sets on disk to bags: one bag per drive or scene, nothing invented."""
