"""Answers in the languages of a hospital: a DICOM structured report, and FHIR resources.

Each is made from an answer, its model and what the source says of itself; the command line and the server share them.
What a file does not decide, and what is not known of a patient, is left out.
"""
