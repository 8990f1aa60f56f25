package dev.baton.openai;

/// The rule for request ids that come from outside. Ids are repeated in headers and logs: printable, and not
/// endless.
public final class RequestIds {
    /// Most characters of an id.
    public static final int MAX_CHARACTERS = 512;

    private RequestIds() {}

    /// Whether an id may be repeated as it is: 1 to [#MAX_CHARACTERS] printable ASCII characters without spaces.
    public static boolean isUsable(String id) {
        return !id.isEmpty() && id.length() <= MAX_CHARACTERS && id.chars().allMatch(c -> c > ' ' && c <= '~');
    }
}
