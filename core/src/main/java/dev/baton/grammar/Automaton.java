package dev.baton.grammar;

/// Rules over bytes: one nondeterministic automaton per rule, whose edges take a byte or call a rule.
///
/// Every state can still reach an end, so a text that stands in a state can always be completed. Immutable,
/// thread-safe.
final class Automaton {
    // Of states; lists are slices [start[s], start[s + 1]).
    final boolean[] isFinal;
    /// Final and nothing else: a call that leads here is the caller's last act.
    final boolean[] isTail;
    final int[] edgeStart;
    final int[] edgeFirst;
    final int[] edgeLast;
    final int[] edgeTarget;
    final int[] callStart;
    final int[] callRule;
    final int[] callTarget;
    /// Counted loops that begin where a state is.
    final int[] loopStart;
    final int[] loopState;

    // Of states that are counted loops; body -1 for others.
    final int[] loopBody;
    final int[] loopMin;
    final int[] loopMax;
    final int[] loopExit;

    // Of rules.
    final int[] ruleStart;
    final boolean[] isNullable;

    final int rootRule;
    /// Bytes that no edge tells apart are one class.
    final int[] classOfByte; // (256)
    final int[] byteOfClass; // (classes)

    Automaton(AutomatonBuilder.Parts parts) {
        this.isFinal = parts.isFinal;
        this.isTail = parts.isTail;
        this.edgeStart = parts.edges.start();
        this.edgeFirst = parts.edges.column(0);
        this.edgeLast = parts.edges.column(1);
        this.edgeTarget = parts.edges.column(2);
        this.callStart = parts.calls.start();
        this.callRule = parts.calls.column(0);
        this.callTarget = parts.calls.column(1);
        this.loopStart = parts.loops.start();
        this.loopState = parts.loops.column(0);
        this.loopBody = parts.loopBody;
        this.loopMin = parts.loopMin;
        this.loopMax = parts.loopMax;
        this.loopExit = parts.loopExit;
        this.ruleStart = parts.ruleStart;
        this.isNullable = parts.isNullable;
        this.rootRule = 0;
        this.classOfByte = new int[256];
        boolean[] begins = new boolean[257];
        for (int e = 0; e < edgeFirst.length; e++) {
            begins[edgeFirst[e]] = true;
            begins[edgeLast[e] + 1] = true;
        }
        IntBuffer representatives = new IntBuffer();
        for (int b = 0; b < 256; b++) {
            if (b == 0 || begins[b]) {
                representatives.add(b);
            }
            classOfByte[b] = representatives.size() - 1;
        }
        this.byteOfClass = representatives.toArray();
    }

    /// About how much memory the arrays take.
    long sizeBytes() {
        int perState = 2 + 7 * Integer.BYTES; // flags; starts of edges, calls, loops; loops' body, bounds and exit
        long columns = 3L * edgeFirst.length + 2L * callRule.length + loopState.length;
        return (long) perState * stateCount() + Integer.BYTES * columns;
    }

    int stateCount() {
        return isFinal.length;
    }
}
