package dev.baton.router.policy;

/// How fast an engine is believed to be, for reading. Immutable.
///
/// @param prefills measured on this engine
/// @param prefillFixedMillis the part of a prefill's time that does not depend on its length
/// @param prefillTokensPerSecond of short prompts; infinite if it does not show
/// @param decodes measured on this engine
/// @param stepMillis between two tokens of a stream that is alone
/// @param stepMillisPerStream that each further stream adds
/// @param harmPerPrefillMilli by how much each stream is delayed by a millisecond of prefill, 0 to 1
/// @param transfers measured on this engine
/// @param transferFixedMillis the part of a transfer's time that does not depend on its length
/// @param transferTokensPerSecond that it fetches; infinite if it does not show
public record Learned(
        long prefills,
        double prefillFixedMillis,
        double prefillTokensPerSecond,
        long decodes,
        double stepMillis,
        double stepMillisPerStream,
        double harmPerPrefillMilli,
        long transfers,
        double transferFixedMillis,
        double transferTokensPerSecond) {}
