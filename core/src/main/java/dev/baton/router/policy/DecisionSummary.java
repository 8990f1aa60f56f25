package dev.baton.router.policy;

import java.util.List;
import java.util.Optional;

/// A decision and what became of it, for reading. Immutable.
///
/// @param number running, from 1
/// @param atMillis when, since 1970
/// @param mode in which it was made
/// @param route its kind and engines
/// @param reason in a few words
/// @param turn of the conversation; 0 if it continues none that is known and is no chat
/// @param promptTokens estimated
/// @param cachedTokens of the prompt that the computing engine was believed to hold
/// @param considered the routes that were weighed; empty if none was
/// @param outcome empty while it runs
public record DecisionSummary(
        long number,
        long atMillis,
        Mode mode,
        String route,
        String reason,
        int turn,
        int promptTokens,
        int cachedTokens,
        List<Decision.Weighed> considered,
        Optional<RouteOutcome> outcome) {

    DecisionSummary withOutcome(RouteOutcome ended) {
        return new DecisionSummary(
                number,
                atMillis,
                mode,
                route,
                reason,
                turn,
                promptTokens,
                cachedTokens,
                considered,
                Optional.of(ended));
    }
}
