package dev.baton.router;

/// Carries an [ApiFailure] out of parsing. Without a stack trace: it is an answer, not a fault of this program.
final class ApiFailureException extends RuntimeException {
    private final transient ApiFailure failure;

    ApiFailureException(ApiFailure failure) {
        super(failure.message(), null, false, false);
        this.failure = failure;
    }

    ApiFailure failure() {
        return failure;
    }
}
