package dev.baton.grammar;

/// Rules that are complete at once; equal sets are one object of a [NodeSpace].
record RuleSet(long id, int[] rules) {}
