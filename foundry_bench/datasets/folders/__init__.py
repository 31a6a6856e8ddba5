"""What a folder of anybody's clouds says of them: classes, sides of a split, series, parts, and what is assumed of the rest."""
