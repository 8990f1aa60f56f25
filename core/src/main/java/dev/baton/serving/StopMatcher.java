package dev.baton.serving;

import java.util.List;
import java.util.Optional;

/// Finds the first stop text in a text that grows, also where it spans several tokens, and holds back what may
/// still become one. One thread.
final class StopMatcher {
    private final List<String> stops;
    private final boolean includeStop;
    private final int holdBack;
    private final StringBuilder held = new StringBuilder();

    /// @param includeStop whether a stop text that is found is shown (`include_stop_str_in_output`)
    StopMatcher(List<String> stops, boolean includeStop) {
        this.stops = stops;
        this.includeStop = includeStop;
        this.holdBack = stops.stream().mapToInt(String::length).max().orElse(1) - 1;
    }

    /// What can be shown now.
    ///
    /// @param stop the stop text that ends the generation, if one was found
    record Match(String text, Optional<String> stop) {}

    /// Takes more text. Of several stop texts the one that begins first counts, of those the first in the list.
    ///
    /// @param mayStop whether a stop text may end the generation yet
    Match append(String more, boolean mayStop) {
        if (stops.isEmpty()) {
            return new Match(more, Optional.empty());
        }
        held.append(more);
        if (!mayStop) {
            return new Match(flush(), Optional.empty());
        }
        int best = Integer.MAX_VALUE;
        String found = "";
        for (String stop : stops) {
            int at = held.indexOf(stop);
            if (at >= 0 && at < best) {
                best = at;
                found = stop;
            }
        }
        if (!found.isEmpty()) {
            String text = held.substring(0, includeStop ? best + found.length() : best);
            held.setLength(0);
            return new Match(text, Optional.of(found));
        }
        int shown = Math.max(0, held.length() - partial());
        String text = held.substring(0, shown);
        held.delete(0, shown);
        return new Match(text, Optional.empty());
    }

    /// Length of the longest end of the held text that begins a stop text.
    private int partial() {
        for (int length = Math.min(holdBack, held.length()); length > 0; length--) {
            int from = held.length() - length;
            for (String stop : stops) {
                if (stop.length() > length && held.indexOf(stop.substring(0, length), from) == from) {
                    return length;
                }
            }
        }
        return 0;
    }

    /// What was held back, once no more text comes.
    String flush() {
        String rest = held.toString();
        held.setLength(0);
        return rest;
    }
}
