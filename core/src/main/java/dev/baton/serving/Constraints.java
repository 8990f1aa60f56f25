package dev.baton.serving;

import dev.baton.engine.TokenConstraint;
import dev.baton.grammar.Grammar;
import dev.baton.grammar.GrammarCompiler;
import dev.baton.grammar.GrammarException;
import dev.baton.grammar.GrammarMatcher;
import dev.baton.grammar.JsonSchemaOptions;
import dev.baton.grammar.TokenVocabulary;
import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import dev.baton.openai.StructuredOutput;
import dev.baton.tokenizer.Tokenizer;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Turns what requests want their output to look like into masks over the model's vocabulary. Thread-safe; the
/// vocabulary's tree is built at the first use, and a grammar takes milliseconds, so not for event loops.
final class Constraints {
    private final Tokenizer tokenizer;
    private final int vocabSize;
    private final int[] eosTokenIds;
    private volatile @Nullable GrammarCompiler compiler;

    /// @param eosTokenIds the engine's tokens that end an output
    Constraints(Tokenizer tokenizer, int vocabSize, List<Integer> eosTokenIds) {
        this.tokenizer = tokenizer;
        this.vocabSize = vocabSize;
        this.eosTokenIds = eosTokenIds.stream().mapToInt(Integer::intValue).toArray();
    }

    /// The constraint for one request.
    ///
    /// @throws ApiException 400 with the grammar's complaint, in vLLM's form
    TokenConstraint of(StructuredOutput wanted) {
        try {
            return new Masked(compiler().matcher(wanted, () -> grammar(wanted)));
        } catch (GrammarException e) {
            throw new ApiException(ApiError.badRequest("Grammar error: " + e.getMessage()));
        }
    }

    private static Grammar grammar(StructuredOutput wanted) {
        return switch (wanted) {
            case StructuredOutput.JsonSchema(String schema, boolean compact) ->
                Grammar.jsonSchema(schema, compact ? JsonSchemaOptions.compact() : JsonSchemaOptions.defaults());
            case StructuredOutput.JsonObject() -> Grammar.jsonObject();
            case StructuredOutput.Regex(String pattern) -> Grammar.regex(pattern);
            case StructuredOutput.Choice(List<String> texts) -> Grammar.choice(texts);
            case StructuredOutput.Grammar(String text) -> Grammar.ebnf(text);
            case StructuredOutput.Tagged(List<StructuredOutput.Tag> tags, boolean many) ->
                Grammar.tagged(
                        tags.stream()
                                .map(tag -> new Grammar.Tag(tag.begin(), tag.schema(), tag.end()))
                                .toList(),
                        many);
        };
    }

    private GrammarCompiler compiler() {
        GrammarCompiler ready = compiler;
        if (ready == null) {
            synchronized (this) {
                ready = compiler;
                if (ready == null) {
                    ready = new GrammarCompiler(TokenVocabulary.of(vocabSize, this::bytes, eosTokenIds));
                    compiler = ready;
                }
            }
        }
        return ready;
    }

    /// Ids beyond the tokenizer's are padding of the model's table.
    private byte[] bytes(int id) {
        return id < tokenizer.vocabularySize() ? tokenizer.tokenBytes(id) : new byte[0];
    }

    /// A grammar as the engine asks it.
    ///
    /// @param beginning never goes on itself; each output gets a copy
    private record Masked(GrammarMatcher beginning) implements TokenConstraint {
        @Override
        public Matcher start() {
            GrammarMatcher matcher = beginning.copy();
            return new Matcher() {
                @Override
                public boolean fillMask(long[] mask) {
                    return matcher.fillMask(mask);
                }

                @Override
                public boolean accept(int token) {
                    return matcher.accept(token);
                }

                @Override
                public boolean isComplete() {
                    return matcher.isTerminated();
                }
            };
        }
    }
}
