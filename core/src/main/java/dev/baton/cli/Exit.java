package dev.baton.cli;

/// Exit statuses beside those of [StopSignal.Cause].
final class Exit {
    static final int OK = 0;
    static final int FAILURE = 1;
    static final int USAGE = 2;

    private Exit() {}
}
