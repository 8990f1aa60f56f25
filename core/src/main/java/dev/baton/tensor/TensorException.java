package dev.baton.tensor;

/// Something that the tensor room cannot compute as asked: a shape that does not fit, an operation that this
/// machine lacks.
public final class TensorException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public TensorException(String message) {
        super(message);
    }

    public TensorException(String message, Throwable cause) {
        super(message, cause);
    }
}
