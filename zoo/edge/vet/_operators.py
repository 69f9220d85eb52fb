"""The operators a model may hold, and why.

A list of what may be there, because lists of what may not be lose: every operator here ends after a number of steps
that its inputs' sizes give, reads no file, draws no random number and calls no other graph. All that the models of our
catalogue, our preprocessing and our quantisation need is here; so are the siblings of those operators that
other networks are written with.

Left out on purpose: If, Loop, Scan and SequenceMap (graphs inside nodes), Sequence*, Optional* and String*, Random*,
Bernoulli, Multinomial and Dropout (answers that change), ImageDecoder (parses files), ZipMap (no plain tensors),
NonMaxSuppression (detection), Attention (ONNX Runtime 1.31 divides by its number of heads, which may be 0; below
opset 23 networks spell it out), training and gradient operators, and every other domain, com.microsoft among them: what
it names may be compiled code that came with the runtime.
"""

from __future__ import annotations

__all__ = ["ALLOWED", "GROUPS", "ML", "STANDARD"]

STANDARD = ""
"""The domain ai.onnx, as ONNX spells it in most files."""
ML = "ai.onnx.ml"

GROUPS: tuple[tuple[str, str, str], ...] = (
    (
        "arithmetic: preprocessing, normalisation and activations that exporters write out",
        STANDARD,
        """
        Abs Acos Add Asin Atan Ceil Cos Cosh Div Erf Exp Floor Log Max Mean Min Mod Mul Neg Pow Reciprocal
        Round Sign Sin Sinh Sqrt Sub Sum Tan Tanh
        """,
    ),
    (
        "comparison and choice: masks of attention, sides of a crop or letterbox, percentiles",
        STANDARD,
        """
        And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Where Xor
        """,
    ),
    (
        "activations, and the last step to probabilities",
        STANDARD,
        """
        Celu Clip Elu Gelu Hardmax HardSigmoid HardSwish LeakyRelu LogSoftmax Mish PRelu Relu Selu Sigmoid
        Softmax Softplus Softsign Swish ThresholdedRelu
        """,
    ),
    (
        "convolution and pooling",
        STANDARD,
        """
        AveragePool Conv ConvTranspose DepthToSpace GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool
        MaxPool SpaceToDepth
        """,
    ),
    (
        "normalisation; passes its input through when a model is run",
        STANDARD,
        """
        BatchNormalization GroupNormalization InstanceNormalization LayerNormalization
        LpNormalization LRN MeanVarianceNormalization RMSNormalization
        """,
    ),
    (
        "products of matrices, and recurrent layers, which end with their input",
        STANDARD,
        """
        Einsum Gemm GRU LSTM MatMul RNN RotaryEmbedding
        """,
    ),
    (
        "reductions and order: pooling of features, means of pixels, medians, percentiles",
        STANDARD,
        """
        ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
        ReduceProd ReduceSum ReduceSumSquare TopK
        """,
    ),
    (
        "shape and place: layouts, patches, windows, crops, letterboxes, the portable resize, half precision (Cast)",
        STANDARD,
        """
        AffineGrid Cast CastLike Col2Im Concat Constant ConstantOfShape Expand EyeLike Flatten Gather
        GatherElements GatherND GridSample Identity OneHot Pad Range Reshape Resize ReverseSequence
        ScatterElements ScatterND Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze
        """,
    ),
    (
        "quantisation: the pairs that --int8 writes",
        STANDARD,
        """
        DequantizeLinear QuantizeLinear
        """,
    ),
    (
        "scikit-learn's estimators as skl2onnx writes them: forests, support vectors, linear models, scaling",
        ML,
        """
        ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LabelEncoder LinearClassifier
        LinearRegressor Normalizer Scaler SVMClassifier SVMRegressor TreeEnsemble TreeEnsembleClassifier
        TreeEnsembleRegressor
        """,
    ),
)
"""Why, domain, operators."""

ALLOWED = frozenset((domain, operator) for _, domain, names in GROUPS for operator in names.split())
"""(domain, operator) of every operator a model may hold."""
