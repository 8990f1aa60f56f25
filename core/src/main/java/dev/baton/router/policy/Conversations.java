package dev.baton.router.policy;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import org.jspecify.annotations.Nullable;

/// Where conversations are: which decoder wrote the last answer of each.
///
/// A request continues a conversation if its prompt begins with the whole prompt of an earlier request and goes
/// on behind it; a session's name says it as well. So requests are never counted, and conversations that began
/// with the same words are different ones. The least recently used are dropped, and all that were silent for an
/// hour. Not thread-safe: used under the policy's lock.
final class Conversations {
    private static final int MAX_CONVERSATIONS = 100_000;
    private static final long TTL_MILLIS = 3_600_000;
    private static final int WORD_BITS = 64;

    /// Told apart by identity.
    static final class Conversation {
        private final String id;
        private final String session;
        private int turns;
        private long lastAccessMillis;
        private EngineState decoder;
        private @Nullable EngineState prefiller;
        private double decoderAge;
        private double prefillerAge;
        private final List<End> ends = new ArrayList<>(2);

        private Conversation(String id, String session, EngineState decoder) {
            this.id = id;
            this.session = session;
            this.decoder = decoder;
        }

        /// Where the last answer was written.
        EngineState decoder() {
            return decoder;
        }

        /// [EngineState#storedTokens] of an engine when it last computed or wrote something of this conversation;
        /// empty if it is not known to have.
        OptionalDouble storedAt(EngineState engine) {
            if (engine == decoder) {
                return OptionalDouble.of(decoderAge);
            }
            return engine == prefiller ? OptionalDouble.of(prefillerAge) : OptionalDouble.empty();
        }
    }

    /// The end of a prompt that was answered.
    ///
    /// @param hash of the whole prompt
    /// @param turn which turn it was
    /// @param outputTokens of the answer; 0 if unknown
    private record End(Conversation conversation, long hash, int turn, int outputTokens) {
        private boolean isLast() {
            return conversation.ends.getLast().equals(this);
        }
    }

    /// What an earlier request says of a new one.
    ///
    /// @param turn which turn the new one is
    /// @param bytes of the new prompt that were the earlier one's prompt
    /// @param outputTokens of the answer that follows them; 0 if unknown
    record Continuation(Conversation conversation, int turn, int bytes, int outputTokens) {}

    private final LinkedHashMap<String, Conversation> byId = new LinkedHashMap<>(16, 0.75f, true);
    private final Map<String, Conversation> bySession = new HashMap<>();
    private final Map<Long, List<End>> byEnd = new HashMap<>();
    /// For a chain's hash, which lengths modulo a block the prompts have that end behind it.
    private final PrefixIndex lengths = new PrefixIndex(MAX_CONVERSATIONS);
    private long nextId;

    /// The earlier request that this one continues.
    ///
    /// @param held blocks that some decoder holds
    Optional<Continuation> find(PromptBlocks blocks, String session, int held) {
        if (blocks.turn() > 0) {
            Optional<Continuation> found = blocks.answerAt() > 0
                    ? find(blocks, session, blocks.hashUpTo(blocks.answerAt()), blocks.answerAt())
                    : Optional.empty();
            return found.or(() -> ofSession(session, blocks.turn()));
        }
        int last = Math.max(0, held - 8); // the next answer may have begun like another that is known already
        for (int whole = held; whole >= last; whole--) {
            Optional<Continuation> found = findBehind(blocks, session, whole);
            if (found.isPresent()) {
                return found;
            }
        }
        return (last > 0 ? findBehind(blocks, session, 0) : Optional.<Continuation>empty())
                .or(() -> ofSession(session, 1));
    }

    private Optional<Continuation> findBehind(PromptBlocks blocks, String session, int whole) {
        long ending = lengths.get(blocks.upTo(whole));
        for (; ending != 0; ending &= ~Long.highestOneBit(ending)) { // the longest first
            int length = whole * PromptBlocks.BLOCK_BYTES + WORD_BITS - 1 - Long.numberOfLeadingZeros(ending);
            if (length > 0 && length < blocks.length()) {
                Optional<Continuation> found = find(blocks, session, blocks.hashUpTo(length), length);
                if (found.isPresent()) {
                    return found;
                }
            }
        }
        return Optional.empty();
    }

    private Optional<Continuation> find(PromptBlocks blocks, String session, long hash, int length) {
        End found = null;
        for (End end : byEnd.getOrDefault(hash, List.of())) {
            boolean fits = session.isEmpty() || end.conversation.session.equals(session);
            // one that nobody has continued yet comes first, then the newest
            if (fits && (found == null || end.isLast() || !found.isLast())) {
                found = end;
            }
        }
        if (found == null) {
            return Optional.empty();
        }
        int turn = blocks.turn() > 0 ? blocks.turn() : found.turn + 1;
        return Optional.of(new Continuation(found.conversation, turn, length, found.outputTokens));
    }

    private Optional<Continuation> ofSession(String session, int turn) {
        return Optional.ofNullable(session.isEmpty() ? null : bySession.get(session))
                .map(conversation -> new Continuation(conversation, turn, 0, 0));
    }

    /// A request was answered.
    ///
    /// @param continued what [#find] said of it
    /// @param assignment where
    /// @param outputTokens of the answer; 0 if unknown
    void answered(
            PromptBlocks blocks,
            String session,
            Optional<Continuation> continued,
            Assignment assignment,
            int outputTokens,
            long nowMillis) {
        dropOld(nowMillis);
        Conversation conversation = continued
                .map(Continuation::conversation)
                .filter(known -> byId.get(known.id) == known)
                .orElseGet(() -> begin(session, assignment.decoder));
        int turn = continued.map(Continuation::turn).orElse(Math.max(1, blocks.turn()));
        conversation.turns = turn;
        conversation.lastAccessMillis = nowMillis;
        conversation.decoder = assignment.decoder;
        conversation.decoderAge = assignment.decoder.storedTokens();
        EngineState prefiller = assignment.prefiller;
        if (prefiller != null) {
            conversation.prefiller = prefiller;
            conversation.prefillerAge = prefiller.storedTokens();
        }
        long hash = blocks.endHash();
        if (conversation.ends.stream().noneMatch(end -> end.hash == hash)) {
            if (conversation.ends.size() == 2) { // the last turn can be asked once more
                remove(conversation.ends.removeFirst());
            }
            End end = new End(conversation, hash, turn, Math.max(0, outputTokens));
            conversation.ends.add(end);
            byEnd.computeIfAbsent(hash, key -> new ArrayList<>(1)).add(end);
            int whole = Math.min(blocks.length() / PromptBlocks.BLOCK_BYTES, blocks.chain().length);
            int beyond = blocks.length() - whole * PromptBlocks.BLOCK_BYTES;
            if (beyond < WORD_BITS) {
                lengths.add(blocks.upTo(whole), 1L << beyond);
            }
        }
    }

    private Conversation begin(String session, EngineState decoder) {
        Conversation begun = new Conversation(
                session.isEmpty() ? Long.toString(nextId++, Character.MAX_RADIX) : session, session, decoder);
        Conversation before = byId.put(begun.id, begun);
        if (before != null) {
            before.ends.forEach(this::remove);
        }
        if (!session.isEmpty()) {
            bySession.put(session, begun);
        }
        return begun;
    }

    private void dropOld(long nowMillis) {
        while (!byId.isEmpty()) {
            Conversation oldest = byId.firstEntry().getValue();
            if (byId.size() < MAX_CONVERSATIONS && nowMillis - oldest.lastAccessMillis < TTL_MILLIS) {
                return;
            }
            byId.pollFirstEntry();
            bySession.remove(oldest.session);
            oldest.ends.forEach(this::remove);
        }
    }

    private void remove(End end) {
        List<End> same = byEnd.get(end.hash);
        if (same != null) {
            same.remove(end);
            if (same.isEmpty()) {
                byEnd.remove(end.hash);
            }
        }
    }

    /// A decoder holds nothing any more.
    void forget(EngineState decoder) {
        byId.values().stream()
                .filter(conversation -> conversation.decoder == decoder)
                .toList()
                .forEach(conversation -> {
                    byId.remove(conversation.id);
                    bySession.remove(conversation.session);
                    conversation.ends.forEach(this::remove);
                });
    }

    int size() {
        return byId.size();
    }

    /// Forgets all, and says how many there were.
    int clear() {
        int cleared = byId.size();
        byId.clear();
        bySession.clear();
        byEnd.clear();
        lengths.clear();
        return cleared;
    }

    /// The last ones, the newest first.
    List<ConversationSummary> latest(int limit) {
        List<ConversationSummary> result = new ArrayList<>(limit);
        for (Conversation conversation : byId.sequencedValues().reversed()) {
            if (result.size() == limit) {
                break;
            }
            result.add(new ConversationSummary(
                    conversation.id, conversation.turns, conversation.lastAccessMillis, conversation.decoder.name));
        }
        return result;
    }
}
