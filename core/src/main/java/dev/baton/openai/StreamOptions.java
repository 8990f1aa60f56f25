package dev.baton.openai;

/// The `stream_options` of a request.
///
/// @param includeUsage whether a last chunk without choices carries the usage
/// @param continuousUsageStats whether every chunk carries the usage so far; has an effect with `includeUsage` only
public record StreamOptions(boolean includeUsage, boolean continuousUsageStats) {
    /// What holds without the field.
    public static final StreamOptions NONE = new StreamOptions(false, false);
}
