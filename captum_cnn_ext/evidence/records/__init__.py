"""One row for each image of a labelled data set. Open ``image_records.py`` first."""
