# Corrections for many questions: stats::p.adjust, and the single-step max-T test by enumeration of all sign patterns.
source("common.R")

adjusted <- function(p) list(holm = p.adjust(p, "holm"), bh = p.adjust(p, "BH"))

# One sign per model, the same for all columns; t of every column, the largest of each pattern.
max_t <- function(table) {
  t_columns <- function(x) colMeans(x) / (apply(x, 2, sd) / sqrt(nrow(x)))
  observed <- t_columns(table)
  flipped <- apply(all_signs(nrow(table)), 1, function(signs) t_columns(signs * table))
  share <- function(value, largest) mean(largest >= value - tie * abs(value))
  one <- apply(flipped, 2, max)
  two <- apply(abs(flipped), 2, max)
  list(statistics = observed, greater = sapply(observed, share, one), two.sided = sapply(abs(observed), share, two))
}

emit(list(plain = adjusted(data$p_values), tied = adjusted(data$p_values_tied), max_t = max_t(data$tables$hypotheses)))
