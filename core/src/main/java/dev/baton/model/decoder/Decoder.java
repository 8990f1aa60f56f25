package dev.baton.model.decoder;

import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.model.ModelConfig;
import dev.baton.model.ModelException;
import dev.baton.model.Weights;
import dev.baton.tensor.DType;
import dev.baton.tensor.OffHeap;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.cpu.AttentionShape;
import dev.baton.tensor.cpu.CpuOps;
import dev.baton.tensor.cpu.Matrix;
import dev.baton.tensor.cpu.PackedMatrix;
import dev.baton.tensor.cpu.RotaryTable;
import dev.baton.tensor.cpu.SequenceRows;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.util.Map;
import java.util.function.BooleanSupplier;
import java.util.function.IntConsumer;

/// A decoder-only transformer of any family that a [DecoderSpec] can describe, on the CPU, in f32 over weights in
/// the checkpoint's type, under the tensor names of Hugging Face's Llama.
///
/// Prefill and decode are one code path: rows are tokens, wherever they come from. In the last layer only the rows
/// whose logits are wanted go on after their keys and values are written. Buffers grow to the largest step and are
/// kept.
///
/// Used from one thread at a time. Owns its weights and threads.
public final class Decoder implements CausalLm {
    private final ModelConfig config;
    private final CpuOps ops;
    private final Arena arena = Arena.ofShared();
    private final Matrix embedding; // (vocab, hidden), as in the checkpoint
    private final DecoderLayer[] layers; // (layers)
    private final float[] finalNorm; // (hidden)
    private final PackedMatrix lmHead; // (vocab, hidden)
    private final AttentionShape shape; // of every layer, but for the window
    private final RotaryTable rotary;
    private final Map<String, String> fingerprint;

    private final SequenceRows sequences = new SequenceRows();
    private final SequenceRows lastRows = new SequenceRows();
    private float[] hidden = {}; // (rows, hidden)
    private float[] normed = {}; // (rows, hidden)
    private float[] qkv = {}; // (rows, heads + 2 kvHeads, headDim)
    private float[] attended = {}; // (rows, heads, headDim)
    private float[] gateUp = {}; // (rows, 2, intermediate)
    private float[] activated = {}; // (rows, intermediate)
    private IntConsumer layerWritten = _ -> {};

    /// Packs the weights.
    ///
    /// @param spec what is particular to the family
    /// @param weights may be closed afterwards
    /// @param ops owned by this model once this has returned
    public Decoder(ModelConfig config, DecoderSpec spec, Weights weights, CpuOps ops) {
        this.config = config;
        this.ops = ops;
        int vocab = config.vocabSize();
        int hiddenSize = config.hiddenSize();
        try {
            SegmentAllocator memory = OffHeap.pieces(arena);
            Weights.Tensor embedTokens = weights.tensor("model.embed_tokens.weight", vocab, hiddenSize);
            MemorySegment copy = memory.allocate(embedTokens.data().byteSize(), Float.BYTES);
            MemorySegment.copy(embedTokens.data(), 0, copy, 0, copy.byteSize());
            this.embedding = new Matrix(copy, embedTokens.dtype(), vocab, hiddenSize);
            this.shape = new AttentionShape(config.numHeads(), config.numKvHeads(), config.headDim(), (float)
                    (1.0 / Math.sqrt(config.headDim())));
            this.layers = new DecoderLayer[config.numLayers()];
            for (int i = 0; i < layers.length; i++) {
                layers[i] = DecoderLayer.load(config, spec, shape, i, weights, ops, memory);
            }
            this.finalNorm = weights.tensor("model.norm.weight", hiddenSize).toFloats();
            this.lmHead = ops.pack(
                    memory,
                    config.tieWordEmbeddings()
                            ? embedding
                            : weights.tensor("lm_head.weight", vocab, hiddenSize)
                                    .matrix());
            this.rotary = new RotaryTable(
                    config.ropeScaling().inverseFrequencies(config.ropeTheta(), config.headDim()),
                    config.ropeScaling().attentionFactor());
            this.fingerprint = spec.fingerprint(config, DType.F32, weights.digest(), ops.quantization());
        } catch (RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    @Override
    public ModelConfig config() {
        return config;
    }

    @Override
    public Map<String, String> fingerprint() {
        return fingerprint;
    }

    @Override
    public String backend() {
        return ops.backend();
    }

    @Override
    public void onLayerWritten(IntConsumer listener, BooleanSupplier isWanted) {
        layerWritten = listener;
    }

    @Override
    public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
        int rows = batch.numTokens();
        if (rows == 0) {
            return;
        }
        ensureBuffers(rows);
        embed(batch);
        fillSequences(batch);
        int last = layers.length - 1;
        for (int i = 0; i < last; i++) {
            DecoderLayer layer = layers[i];
            keysAndValues(layer, i, rows, kv);
            ops.attention(qkv, layer.attention(), kv, i, sequences, attended);
            rest(layer, rows);
        }
        keysAndValues(layers[last], last, rows, kv);
        int wanted = batch.numLogits();
        if (wanted > 0) {
            ops.attention(qkv, layers[last].attention(), kv, last, lastRows, attended);
            for (int i = 0; i < wanted; i++) {
                int row = batch.logitsRow(i);
                System.arraycopy(attended, row * shape.outSize(), attended, i * shape.outSize(), shape.outSize());
                System.arraycopy(
                        hidden, row * config.hiddenSize(), hidden, i * config.hiddenSize(), config.hiddenSize());
            }
            rest(layers[last], wanted);
            ops.rmsNorm(hidden, wanted, config.hiddenSize(), finalNorm, config.rmsNormEps(), normed);
            ops.matmul(normed, wanted, lmHead, logits);
        }
    }

    private void keysAndValues(DecoderLayer layer, int index, int rows, PagedKv kv) {
        ops.rmsNorm(hidden, rows, config.hiddenSize(), layer.inputNorm(), config.rmsNormEps(), normed);
        layer.qkv().apply(ops, normed, rows, qkv);
        if (layer.queryNorm().length > 0) {
            ops.rmsNormHeads(qkv, shape, rows, layer.queryNorm(), layer.keyNorm(), config.rmsNormEps());
        }
        ops.rotateAndStore(qkv, shape, rotary, kv, index, sequences);
        layerWritten.accept(index);
    }

    /// What a layer does after attention.
    private void rest(DecoderLayer layer, int rows) {
        int hiddenSize = config.hiddenSize();
        layer.attentionOut().apply(ops, attended, rows, normed);
        ops.add(hidden, normed, rows, hiddenSize);
        ops.rmsNorm(hidden, rows, hiddenSize, layer.mlpNorm(), config.rmsNormEps(), normed);
        layer.gateUp().apply(ops, normed, rows, gateUp);
        ops.siluMultiply(gateUp, rows, config.intermediateSize(), activated);
        layer.down().apply(ops, activated, rows, normed);
        ops.add(hidden, normed, rows, hiddenSize);
    }

    private void embed(ForwardBatch batch) {
        for (int row = 0; row < batch.numTokens(); row++) {
            int token = batch.tokenId(row);
            if (token < 0 || token >= config.vocabSize()) {
                throw new ModelException("token " + token + " is not in the vocabulary of " + config.vocabSize());
            }
            embedding.copyRow(token, hidden, row * config.hiddenSize());
        }
    }

    private void fillSequences(ForwardBatch batch) {
        sequences.clear();
        lastRows.clear();
        int nextLogits = 0;
        for (int s = 0; s < batch.numSequences(); s++) {
            int first = batch.queryStart(s);
            int end = batch.queryStart(s + 1);
            sequences.add(first, end - first, batch.position(first), batch.blockTable(s));
            int firstLogits = nextLogits;
            while (nextLogits < batch.numLogits() && batch.logitsRow(nextLogits) < end) {
                nextLogits++;
            }
            if (nextLogits > firstLogits) {
                int row = batch.logitsRow(firstLogits);
                lastRows.add(row, nextLogits - firstLogits, batch.position(row), batch.blockTable(s));
            }
        }
    }

    private void ensureBuffers(int rows) {
        hidden = grown(hidden, rows, config.hiddenSize());
        normed = grown(normed, rows, config.hiddenSize());
        qkv = grown(qkv, rows, shape.rowSize());
        attended = grown(attended, rows, shape.outSize());
        gateUp = grown(gateUp, rows, 2 * config.intermediateSize());
        activated = grown(activated, rows, config.intermediateSize());
    }

    private static float[] grown(float[] buffer, int rows, int columns) {
        int needed = Math.multiplyExact(rows, columns);
        return buffer.length >= needed ? buffer : new float[needed];
    }

    @Override
    public void close() {
        ops.close();
        arena.close();
    }
}
