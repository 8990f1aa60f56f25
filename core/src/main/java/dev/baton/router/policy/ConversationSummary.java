package dev.baton.router.policy;

/// A conversation that a policy knows of, for reading. Immutable.
///
/// @param id the session's name if it has one
/// @param turns that were answered, as its last prompt shows
/// @param lastAccessMillis when its last answer ended, since 1970
/// @param decoder where it was written
public record ConversationSummary(String id, int turns, long lastAccessMillis, String decoder) {}
