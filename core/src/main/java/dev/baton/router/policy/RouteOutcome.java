package dev.baton.router.policy;

/// What became of a request on the route that it took in the end; times from its arrival.
///
/// @param route the one taken; after a failure elsewhere the last one
/// @param served whether the client got a whole answer
/// @param prefillMillis to the prefiller's answer; NaN without one
/// @param firstTokenMillis to the first bytes of the decoder's answer; NaN without any
/// @param lastTokenMillis to the end
/// @param promptTokens as the engine counted them; -1 if it did not say
/// @param cachedTokens of the prompt that the answering engine did not compute; -1 if it did not say
/// @param outputTokens as the engine counted them, else the events of the stream; -1 if neither is known
public record RouteOutcome(
        Route<?> route,
        boolean served,
        double prefillMillis,
        double firstTokenMillis,
        double lastTokenMillis,
        int promptTokens,
        int cachedTokens,
        int outputTokens) {}
