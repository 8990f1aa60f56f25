package dev.baton.grammar;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntPredicate;
import java.util.function.Predicate;

/// Turns rules into an [Automaton]: Thompson's construction per rule, then without empty edges, then without what
/// cannot be reached or cannot end. Not thread-safe; used once.
final class AutomatonBuilder {
    private static final int MAX_STATES = 500_000;
    private static final int MAX_EDGES = 2_000_000;
    /// A repetition whose copies are at most so many states is written out; a longer one is counted.
    private static final int MAX_WRITTEN_OUT = 24;

    private static final long MAX_WORK = 200_000_000;

    private static final String TOO_LARGE = "the grammar is too large: it has more than ";

    private final Map<Expr.Rule, Integer> ruleIndex = new HashMap<>(); // rules are compared by identity
    private final IdentityHashMap<Expr, Integer> loopBodies = new IdentityHashMap<>(); // shared where the part is
    private final List<Expr> bodies = new ArrayList<>();
    private final IntBuffer ruleStart = new IntBuffer();
    private final IntBuffer ruleEnd = new IntBuffer();

    private final Links empty = new Links(1);
    private final Links edges = new Links(3);
    private final Links calls = new Links(2);
    private final IntBuffer loopBody = new IntBuffer();
    private final IntBuffer loopMin = new IntBuffer();
    private final IntBuffer loopMax = new IntBuffer();
    private final IntBuffer loopExit = new IntBuffer();
    private int states;

    private AutomatonBuilder() {}

    /// @throws GrammarException if the rules match no text at all, or are too many
    static Automaton build(Expr root) {
        AutomatonBuilder builder = new AutomatonBuilder();
        builder.addRule(root);
        for (int rule = 0; rule < builder.bodies.size(); rule++) {
            int start = builder.newState();
            builder.ruleStart.add(start);
            builder.ruleEnd.add(builder.build(builder.bodies.get(rule), start));
        }
        return new Automaton(builder.finish());
    }

    private int addRule(Expr body) {
        bodies.add(body);
        return bodies.size() - 1;
    }

    private int newState() {
        if (states == MAX_STATES) {
            throw new GrammarException(TOO_LARGE + MAX_STATES + " states");
        }
        empty.addState();
        edges.addState();
        calls.addState();
        loopBody.add(-1);
        loopMin.add(0);
        loopMax.add(0);
        loopExit.add(-1);
        return states++;
    }

    /// Adds what `expr` derives behind the state `from` and returns the state behind it.
    ///
    /// Edges are only ever added out of `from`, and into states that were made here: else a loop of one part
    /// could be entered from another.
    private int build(Expr expr, int from) {
        switch (expr) {
            case Expr.Literal literal -> {
                int at = from;
                for (byte b : literal.utf8()) {
                    at = edge(at, b & 0xff, b & 0xff, newState());
                }
                return at;
            }
            case Expr.Chars chars -> {
                return buildChars(chars.set(), from);
            }
            case Expr.Seq seq -> {
                int at = from;
                for (Expr part : seq.parts()) {
                    at = build(part, at);
                }
                return at;
            }
            case Expr.Alt alt -> {
                return buildAlt(alt, from);
            }
            case Expr.Repeat repeat -> {
                return buildRepeat(repeat, from);
            }
            case Expr.Ref ref -> {
                Integer known = ruleIndex.get(ref.rule());
                if (known == null) {
                    known = addRule(ref.rule().body());
                    ruleIndex.put(ref.rule(), known);
                }
                int to = newState();
                calls.add(from, known, to, 0);
                return to;
            }
        }
    }

    private int edge(int from, int first, int last, int to) {
        if (edges.size() == MAX_EDGES) {
            throw new GrammarException(TOO_LARGE + MAX_EDGES + " edges");
        }
        edges.add(from, first, last, to);
        return to;
    }

    private int buildChars(CodePointSet set, int from) {
        int to = newState();
        Map<Long, Integer> shared = new HashMap<>(); // a state by the rest that leads from it to the end
        for (int[] sequence : Utf8.sequences(set)) {
            int target = to;
            long rest = 1;
            for (int i = sequence.length - 2; i >= 2; i -= 2) {
                rest = rest << 16 | (long) sequence[i] << 8 | sequence[i + 1];
                Integer state = shared.get(rest);
                if (state == null) {
                    state = newState();
                    edge(state, sequence[i], sequence[i + 1], target);
                    shared.put(rest, state);
                }
                target = state;
            }
            edge(from, sequence[0], sequence[1], target);
        }
        return to;
    }

    private int buildAlt(Expr.Alt alt, int from) {
        int to = newState();
        Map<Long, Integer> tree = new HashMap<>(); // literals share their prefixes
        for (Expr option : alt.options()) {
            int end = from;
            if (option instanceof Expr.Literal literal) {
                for (byte b : literal.utf8()) {
                    long key = (long) end << 8 | (b & 0xff);
                    Integer next = tree.get(key);
                    if (next == null) {
                        next = edge(end, b & 0xff, b & 0xff, newState());
                        tree.put(key, next);
                    }
                    end = next;
                }
            } else {
                end = build(option, from);
            }
            empty.add(end, to, 0, 0);
        }
        return to;
    }

    private int buildRepeat(Expr.Repeat repeat, int from) {
        int min = repeat.min();
        int max = repeat.max();
        if (max == Expr.Repeat.UNBOUNDED && min <= 1) {
            int loop = newState();
            empty.add(from, loop, 0, 0);
            int end = build(repeat.part(), loop);
            empty.add(end, loop, 0, 0);
            return min == 0 ? loop : end;
        }
        int copies = max == Expr.Repeat.UNBOUNDED ? min + 1 : max;
        if (copies <= MAX_WRITTEN_OUT && copies * weight(repeat.part(), MAX_WRITTEN_OUT) <= MAX_WRITTEN_OUT) {
            int at = from;
            for (int i = 0; i < min; i++) {
                at = build(repeat.part(), at);
            }
            if (max == Expr.Repeat.UNBOUNDED) {
                return build(Expr.star(repeat.part()), at);
            }
            int to = newState();
            empty.add(at, to, 0, 0);
            for (int i = min; i < max; i++) {
                at = build(repeat.part(), at);
                empty.add(at, to, 0, 0);
            }
            return to;
        }
        int loop = newState();
        int to = newState();
        Integer body = loopBodies.get(repeat.part());
        if (body == null) {
            body = addRule(repeat.part());
            loopBodies.put(repeat.part(), body);
        }
        loopBody.set(loop, body);
        loopMin.set(loop, min);
        loopMax.set(loop, max);
        loopExit.set(loop, to);
        empty.add(from, loop, 0, 0);
        return to;
    }

    /// About how many states a part becomes, counted no further than `limit`.
    private static int weight(Expr expr, int limit) {
        int sum = 0;
        switch (expr) {
            case Expr.Literal literal -> sum = literal.text().length();
            case Expr.Chars chars ->
                sum = chars.set().rangeCount() == 1 && chars.set().last(0) < 0x80 ? 1 : 8;
            case Expr.Seq seq -> {
                for (int i = 0; i < seq.parts().size() && sum <= limit; i++) {
                    sum += weight(seq.parts().get(i), limit);
                }
            }
            case Expr.Alt alt -> {
                sum = 1;
                for (int i = 0; i < alt.options().size() && sum <= limit; i++) {
                    sum += weight(alt.options().get(i), limit);
                }
            }
            case Expr.Repeat repeat ->
                sum = repeat.max() == Expr.Repeat.UNBOUNDED
                        ? 1 + (repeat.min() + 1) * weight(repeat.part(), limit)
                        : repeat.max() > limit ? limit : repeat.max() * weight(repeat.part(), limit);
            case Expr.Ref _ -> sum = 2;
        }
        return Math.max(1, Math.min(sum, limit + 1));
    }

    /// What [Automaton] is made of.
    static final class Parts {
        final boolean[] isFinal;
        final boolean[] isTail;
        final Table edges;
        final Table calls;
        final Table loops;
        final int[] loopBody;
        final int[] loopMin;
        final int[] loopMax;
        final int[] loopExit;
        final int[] ruleStart;
        final boolean[] isNullable;

        private Parts(int states, int[] ruleStart, Table edges, Table calls, Table loops) {
            this.isFinal = new boolean[states];
            this.isTail = new boolean[states];
            this.edges = edges;
            this.calls = calls;
            this.loops = loops;
            this.loopBody = new int[states];
            this.loopMin = new int[states];
            this.loopMax = new int[states];
            this.loopExit = new int[states];
            this.ruleStart = ruleStart;
            this.isNullable = new boolean[ruleStart.length];
        }
    }

    /// Rows of integers, sorted by the state that they belong to.
    record Table(int[] start, int[][] rows) {
        int[] column(int index) {
            int[] column = new int[rows.length];
            for (int i = 0; i < rows.length; i++) {
                column[i] = rows[i][index];
            }
            return column;
        }
    }

    /// The automaton without empty edges, while it is made: states that are used, by their new numbers.
    private final class WithoutEmpty {
        final int[] newNumber = new int[states];
        final IntBuffer oldNumber = new IntBuffer();
        final List<int[][]> edgesOf = new ArrayList<>();
        final List<int[][]> callsOf = new ArrayList<>();
        final List<int[][]> loopsOf = new ArrayList<>();
        final List<Boolean> finals = new ArrayList<>();

        WithoutEmpty() {
            Arrays.fill(newNumber, -1);
            boolean[] ends = new boolean[states];
            for (int rule = 0; rule < ruleEnd.size(); rule++) {
                ends[ruleEnd.get(rule)] = true;
            }
            number(ruleStart.get(0));
            int[] stamp = new int[states];
            IntBuffer closure = new IntBuffer();
            long total = 0;
            for (int done = 0; done < oldNumber.size(); done++) {
                int state = oldNumber.get(done);
                closure.clear();
                closure.add(state);
                stamp[state] = done + 1;
                boolean isFinal = false;
                List<int[]> edgeRows = new ArrayList<>();
                List<int[]> callRows = new ArrayList<>();
                List<int[]> loopRows = new ArrayList<>();
                for (int i = 0; i < closure.size(); i++) {
                    int s = closure.get(i);
                    isFinal |= ends[s];
                    for (int e = edges.head(s); e >= 0; e = edges.next(e)) {
                        edgeRows.add(new int[] {edges.get(e, 0), edges.get(e, 1), number(edges.get(e, 2))});
                    }
                    for (int c = calls.head(s); c >= 0; c = calls.next(c)) {
                        number(ruleStart.get(calls.get(c, 0)));
                        callRows.add(new int[] {calls.get(c, 0), number(calls.get(c, 1))});
                    }
                    if (loopBody.get(s) >= 0) {
                        number(ruleStart.get(loopBody.get(s)));
                        number(loopExit.get(s));
                        if (s != state) {
                            loopRows.add(new int[] {number(s)});
                        }
                    }
                    for (int e = empty.head(s); e >= 0; e = empty.next(e)) {
                        int to = empty.get(e, 0);
                        if (stamp[to] != done + 1) {
                            stamp[to] = done + 1;
                            closure.add(to);
                        }
                    }
                }
                edgesOf.add(distinct(edgeRows));
                callsOf.add(distinct(callRows));
                loopsOf.add(distinct(loopRows));
                finals.add(isFinal);
                total += edgeRows.size() + callRows.size() + loopRows.size() + closure.size();
                if (total > 2L * MAX_EDGES) {
                    throw new GrammarException(TOO_LARGE + 2 * MAX_EDGES + " edges once empty parts are gone");
                }
            }
        }

        private int number(int old) {
            if (newNumber[old] < 0) {
                newNumber[old] = oldNumber.size();
                oldNumber.add(old);
            }
            return newNumber[old];
        }
    }

    private static int[][] distinct(List<int[]> rows) {
        if (rows.size() < 2) {
            return rows.toArray(int[][]::new);
        }
        rows.sort(Arrays::compare);
        List<int[]> kept = new ArrayList<>();
        for (int[] row : rows) {
            if (kept.isEmpty() || !Arrays.equals(kept.getLast(), row)) {
                kept.add(row);
            }
        }
        return kept.toArray(int[][]::new);
    }

    private Parts finish() {
        WithoutEmpty all = new WithoutEmpty();
        int count = all.oldNumber.size();
        int rules = ruleStart.size();
        int[] startOf = new int[rules]; // -1 where a rule is never called
        for (int rule = 0; rule < rules; rule++) {
            startOf[rule] = all.newNumber[ruleStart.get(rule)];
        }
        boolean[] ends = canEnd(all, startOf);
        if (!ends[startOf[0]]) {
            throw new GrammarException("the grammar matches no text at all");
        }
        Parts parts = new Parts(
                count,
                startOf,
                table(all.edgesOf, row -> ends[row[2]]),
                table(all.callsOf, row -> ends[row[1]] && ends[startOf[row[0]]]),
                table(all.loopsOf, row -> ends[row[0]]));
        for (int s = 0; s < count; s++) {
            int old = all.oldNumber.get(s);
            parts.isFinal[s] = all.finals.get(s);
            int body = loopBody.get(old);
            boolean isLoop = body >= 0;
            parts.loopBody[s] = isLoop ? body : -1;
            parts.loopMin[s] = loopMin.get(old);
            parts.loopMax[s] = isLoop && !ends[startOf[body]] ? 0 : loopMax.get(old);
            parts.loopExit[s] = isLoop ? all.newNumber[loopExit.get(old)] : -1;
            parts.isTail[s] = parts.isFinal[s]
                    && !isLoop
                    && parts.edges.start()[s] == parts.edges.start()[s + 1]
                    && parts.calls.start()[s] == parts.calls.start()[s + 1]
                    && parts.loops.start()[s] == parts.loops.start()[s + 1];
        }
        findNullable(parts);
        return parts;
    }

    /// Which states can reach the end of their rule.
    private boolean[] canEnd(WithoutEmpty all, int[] startOf) {
        int count = all.oldNumber.size();
        boolean[] ends = new boolean[count];
        Links waiting = new Links(1); // who looks at a state
        for (int s = 0; s < count; s++) {
            waiting.addState();
        }
        for (int s = 0; s < count; s++) {
            ends[s] = all.finals.get(s);
            int old = all.oldNumber.get(s);
            if (loopBody.get(old) >= 0) {
                waiting.add(all.newNumber[loopExit.get(old)], s, 0, 0);
                waiting.add(startOf[loopBody.get(old)], s, 0, 0);
            }
            for (int[] edge : all.edgesOf.get(s)) {
                waiting.add(edge[2], s, 0, 0);
            }
            for (int[] call : all.callsOf.get(s)) {
                waiting.add(call[1], s, 0, 0);
                waiting.add(startOf[call[0]], s, 0, 0);
            }
            for (int[] loop : all.loopsOf.get(s)) {
                waiting.add(loop[0], s, 0, 0);
            }
        }
        leastFixedPoint(ends, waiting, s -> endsNow(all, startOf, ends, s));
        return ends;
    }

    /// Sets what follows from what is set, until nothing does. `waiting` holds who looks at a state.
    private static void leastFixedPoint(boolean[] isSet, Links waiting, IntPredicate follows) {
        IntBuffer open = new IntBuffer();
        for (int s = 0; s < isSet.length; s++) {
            if (isSet[s]) {
                open.add(s);
            }
        }
        for (long work = 0; open.size() > 0; ) {
            int state = open.removeLast();
            for (int w = waiting.head(state); w >= 0; w = waiting.next(w)) {
                int other = waiting.get(w, 0);
                if (!isSet[other] && follows.test(other)) {
                    isSet[other] = true;
                    open.add(other);
                }
                if (++work > MAX_WORK) {
                    throw new GrammarException("the grammar is too large: its rules refer to each other too often");
                }
            }
        }
    }

    private boolean endsNow(WithoutEmpty all, int[] startOf, boolean[] ends, int s) {
        if (all.finals.get(s)) {
            return true;
        }
        int old = all.oldNumber.get(s);
        if (loopBody.get(old) >= 0
                && ends[all.newNumber[loopExit.get(old)]]
                && (loopMin.get(old) == 0 || ends[startOf[loopBody.get(old)]])) {
            return true;
        }
        for (int[] edge : all.edgesOf.get(s)) {
            if (ends[edge[2]]) {
                return true;
            }
        }
        for (int[] call : all.callsOf.get(s)) {
            if (ends[call[1]] && ends[startOf[call[0]]]) {
                return true;
            }
        }
        for (int[] loop : all.loopsOf.get(s)) {
            if (ends[loop[0]]) {
                return true;
            }
        }
        return false;
    }

    /// Which rules derive the empty text. A counted loop over such a rule needs no minimum: the empty text counts.
    private static void findNullable(Parts parts) {
        int count = parts.isFinal.length;
        boolean[] reaches = parts.isFinal.clone(); // the end of its rule without a byte
        Links waiting = new Links(1);
        for (int s = 0; s < count; s++) {
            waiting.addState();
        }
        for (int s = 0; s < count; s++) {
            if (parts.loopBody[s] >= 0) {
                waiting.add(parts.loopExit[s], s, 0, 0);
                waiting.add(parts.ruleStart[parts.loopBody[s]], s, 0, 0);
            }
            for (int c = parts.calls.start()[s]; c < parts.calls.start()[s + 1]; c++) {
                int[] call = parts.calls.rows()[c];
                waiting.add(call[1], s, 0, 0);
                waiting.add(parts.ruleStart[call[0]], s, 0, 0);
            }
            for (int l = parts.loops.start()[s]; l < parts.loops.start()[s + 1]; l++) {
                waiting.add(parts.loops.rows()[l][0], s, 0, 0);
            }
        }
        leastFixedPoint(reaches, waiting, s -> endsWithoutByte(parts, reaches, s));
        for (int rule = 0; rule < parts.ruleStart.length; rule++) {
            parts.isNullable[rule] = parts.ruleStart[rule] >= 0 && reaches[parts.ruleStart[rule]];
        }
        for (int s = 0; s < count; s++) {
            if (parts.loopBody[s] >= 0 && parts.isNullable[parts.loopBody[s]]) {
                parts.loopMin[s] = 0;
            }
        }
    }

    private static boolean endsWithoutByte(Parts parts, boolean[] reaches, int s) {
        int body = parts.loopBody[s];
        if (body >= 0 && reaches[parts.loopExit[s]] && (parts.loopMin[s] == 0 || reaches[parts.ruleStart[body]])) {
            return true;
        }
        for (int c = parts.calls.start()[s]; c < parts.calls.start()[s + 1]; c++) {
            int[] call = parts.calls.rows()[c];
            if (reaches[parts.ruleStart[call[0]]] && reaches[call[1]]) {
                return true;
            }
        }
        for (int l = parts.loops.start()[s]; l < parts.loops.start()[s + 1]; l++) {
            if (reaches[parts.loops.rows()[l][0]]) {
                return true;
            }
        }
        return false;
    }

    private static Table table(List<int[][]> perState, Predicate<int[]> kept) {
        int[] start = new int[perState.size() + 1];
        List<int[]> rows = new ArrayList<>();
        for (int s = 0; s < perState.size(); s++) {
            for (int[] row : perState.get(s)) {
                if (kept.test(row)) {
                    rows.add(row);
                }
            }
            start[s + 1] = rows.size();
        }
        return new Table(start, rows.toArray(int[][]::new));
    }

    /// A linked list of rows of up to three integers per state.
    private static final class Links {
        private final int width;
        private final IntBuffer heads = new IntBuffer();
        private final IntBuffer nexts = new IntBuffer();
        private final IntBuffer values = new IntBuffer();

        Links(int width) {
            this.width = width;
        }

        void addState() {
            heads.add(-1);
        }

        void add(int state, int a, int b, int c) {
            nexts.add(heads.get(state));
            heads.set(state, nexts.size() - 1);
            values.add(a);
            if (width > 1) {
                values.add(b);
            }
            if (width > 2) {
                values.add(c);
            }
        }

        int head(int state) {
            return heads.get(state);
        }

        int next(int link) {
            return nexts.get(link);
        }

        int get(int link, int column) {
            return values.get(link * width + column);
        }

        int size() {
            return nexts.size();
        }
    }
}
