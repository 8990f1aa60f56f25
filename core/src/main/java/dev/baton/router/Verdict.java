package dev.baton.router;

/// What an engine's HTTP status says about the engine.
enum Verdict {
    /// It answered, be it that the request is wrong (4xx) or asks for what is not built (501): another engine would
    /// say the same.
    ANSWERED,
    /// It has no room for the request now (429, 503): another may have, and it is as well as before.
    BUSY,
    /// It failed (500, 502, 504): another may not, and it is to be looked after.
    FAILED,
    /// Nothing that an engine says to such a request.
    UNEXPECTED;

    /// For metrics and logs.
    String word() {
        return switch (this) {
            case ANSWERED -> "refused";
            case BUSY -> "busy";
            case FAILED, UNEXPECTED -> "status";
        };
    }

    static Verdict of(int status) {
        return switch (status) {
            case 429, 503 -> BUSY;
            case 500, 502, 504 -> FAILED;
            case 501 -> ANSWERED;
            default -> status / 100 == 2 || status / 100 == 4 ? ANSWERED : UNEXPECTED;
        };
    }
}
