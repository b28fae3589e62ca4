"""What came home: judged, and made a commit on a branch."""
