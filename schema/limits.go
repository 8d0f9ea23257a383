package schema

// What is accepted at most. The limits keep one hostile or mistaken document from taking the process down.
const (
	// MaxDepth is how deep arrays and objects of a payload may nest.
	MaxDepth = 1000
	// MaxNumberDigits is how many digits a number may have when it is written out without an exponent. Every float64
	// and every 64-bit integer stays below 400.
	MaxNumberDigits = 1000
	// DefaultMaxBytes is the size of the largest payload that [Schema.Validate] reads, unless
	// [MaxBytes] says otherwise.
	DefaultMaxBytes = 16 << 20
	// MaxDocumentBytes is the size of the largest schema document.
	MaxDocumentBytes = 1 << 20
	// MaxDocumentDepth is how deep arrays and objects of a schema document may nest.
	MaxDocumentDepth = 200
	// MaxViolations is how many violations one [ValidationError] lists, and how many problems a [SchemaError] and a
	// [CompatibilityError].
	MaxViolations = 100

	// maxInPlace bounds the schemas that one value may meet through $ref, allOf, anyOf and the like.
	maxInPlace = 5_000
	// maxInPlaceDepth bounds how deep those may nest.
	maxInPlaceDepth = 500
	// maxInstructions bounds the expressions of a document: an instruction takes about 100 bytes for good.
	maxInstructions = 200_000
	// maxParsed bounds the checks that reading the expressions of a document takes: at 50 ns each, 250 ms.
	maxParsed = 5_000_000
	// maxWork bounds the checks of one validation, one more for each byte of the payload; a check takes about 50 ns.
	maxWork = 500_000
	// maxOmitted is how many violations are counted past MaxViolations.
	maxOmitted = 10_000
	// maxWhy, maxProblem (the same for a comparison, which may show an example), maxPath and maxName bound the texts of
	// errors, in bytes.
	maxWhy     = 400
	maxProblem = maxWhy + maxExampleSize
	maxPath    = 1_000
	maxName    = 100
	// maxProof bounds the steps of one compatibility check.
	maxProof = 200_000
	// maxProofDepth bounds how deep the questions of one compatibility check lead to further ones.
	maxProofDepth = 5_000
)
