"""What a note says, as far as small patterns can tell: for the clinical reward alone, and unlike evaluation's rules."""
