package dev.baton.launch;

import java.time.Duration;
import java.util.List;

/// What is known of a role's process.
public sealed interface RoleStatus {
    /// Started; not yet able to work.
    record Starting() implements RoleStatus {}

    /// Able to work.
    ///
    /// @param after since the start of its process
    record Ready(Duration after) implements RoleStatus {}

    /// Ended without being told to.
    ///
    /// @param exitCode 128 + n after signal n
    /// @param logTail the last lines of its log
    record Died(int exitCode, List<String> logTail) implements RoleStatus {}

    /// Ended because it was told to.
    record Stopped() implements RoleStatus {}
}
