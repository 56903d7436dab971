"""From pictures and drawings to what controls a video, frame by frame. Pure: no host is known here."""
