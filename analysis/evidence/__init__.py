"""The evidence of a study: read once, validated once, filtered in one place."""
