"""What is optimised: modules whose forward is the image. Open ``parameterizations.py`` first."""
