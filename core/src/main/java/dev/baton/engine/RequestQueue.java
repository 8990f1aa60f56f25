package dev.baton.engine;

import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Objects;
import java.util.SequencedMap;
import java.util.SequencedSet;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// Requests that wait for their turn, in the order of a [SchedulingPolicy]. Each operation takes constant time, or
/// logarithmic time in the number of priorities, however many requests wait. Engine thread only.
sealed interface RequestQueue {

    static RequestQueue of(SchedulingPolicy policy) {
        return switch (policy) {
            case FCFS -> new Fcfs();
            case PRIORITY -> new Priority();
        };
    }

    /// Adds a request that has arrived.
    void add(Request request);

    /// Puts a request back that had its turn and lost it: it comes before all that have not had theirs, but for
    /// those of another priority.
    void putBack(Request request);

    /// The request whose turn is next, which stays in the queue; null if there is none.
    @Nullable
    Request peek();

    /// Takes a request out; does nothing if it has not come yet.
    ///
    /// @param turn whether it has got its turn, so that the next tenant comes now; false if it has given up
    void remove(Request request, boolean turn);

    int size();

    void clear();

    /// First come, first served within a tenant, and the tenants in turn.
    final class Fcfs implements RequestQueue {
        private final SequencedSet<Request> returned = new LinkedHashSet<>();
        private final SequencedMap<String, SequencedSet<Request>> tenants = new LinkedHashMap<>(); // the next one first
        private int size;

        @Override
        public void add(Request request) {
            tenants.computeIfAbsent(request.tenant, ignored -> new LinkedHashSet<>())
                    .addLast(request);
            size++;
        }

        @Override
        public void putBack(Request request) {
            // The youngest gives way first, so the last to come back is the oldest.
            returned.addFirst(request);
            size++;
        }

        @Override
        public @Nullable Request peek() {
            if (size == 0) {
                return null;
            }
            return returned.isEmpty() ? tenants.sequencedValues().getFirst().getFirst() : returned.getFirst();
        }

        @Override
        public void remove(Request request, boolean turn) {
            if (returned.remove(request)) {
                size--;
                return;
            }
            SequencedSet<Request> queue = tenants.get(request.tenant);
            if (queue == null || !queue.remove(request)) {
                return;
            }
            size--;
            if (queue.isEmpty()) {
                tenants.remove(request.tenant);
            } else if (turn) {
                tenants.putLast(request.tenant, queue);
            }
        }

        @Override
        public int size() {
            return size;
        }

        @Override
        public void clear() {
            returned.clear();
            tenants.clear();
            size = 0;
        }
    }

    /// The lowest number first, and within one as [Fcfs].
    final class Priority implements RequestQueue {
        private final TreeMap<Integer, Fcfs> levels = new TreeMap<>();
        private int size;

        private Fcfs level(Request request) {
            return levels.computeIfAbsent(request.priority, ignored -> new Fcfs());
        }

        @Override
        public void add(Request request) {
            level(request).add(request);
            size++;
        }

        @Override
        public void putBack(Request request) {
            level(request).putBack(request);
            size++;
        }

        @Override
        public @Nullable Request peek() {
            return size == 0
                    ? null
                    : Objects.requireNonNull(levels.get(levels.firstKey())).peek();
        }

        @Override
        public void remove(Request request, boolean turn) {
            Fcfs level = level(request);
            int before = level.size();
            level.remove(request, turn);
            size -= before - level.size();
            if (level.size() == 0) {
                levels.remove(request.priority);
            }
        }

        @Override
        public int size() {
            return size;
        }

        @Override
        public void clear() {
            levels.clear();
            size = 0;
        }
    }
}
