# The mixed model over settings by lme4: estimates by REML, likelihood ratios of the fixed terms from ML refits.
source("common.R")
suppressPackageStartupMessages(library(lme4))
rows <- as.data.frame(data$mixed)
for (name in c("architecture", "family", "model", "sparsity", "class")) rows[[name]] <- factor(rows[[name]])
options(contrasts = c("contr.sum", "contr.poly"))
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5),
                       check.conv.singular = "ignore")

# lmer on columns that are given: a term is left out by leaving out its columns.
fit <- function(rows, response, columns, random, reml) {
  rows$X <- columns
  lmer(as.formula(paste(response, "~ 0 + X +", random)), rows, REML = reml, control = control)
}

loglik <- function(model) as.numeric(logLik(model))

# Twice the gain in log-likelihood of the columns in `term`, with the columns in `absent` in neither model.
test <- function(rows, response, x, term, absent, random) {
  full <- fit(rows, response, x[, !absent, drop = FALSE], random, FALSE)
  reduced <- fit(rows, response, x[, !absent & !term, drop = FALSE], random, FALSE)
  statistic <- 2 * (loglik(full) - loglik(reduced))
  list(chi_square = statistic, df = sum(term), p = pchisq(statistic, sum(term), lower.tail = FALSE))
}

describe <- function(rows, response, fixed, random) {
  x <- model.matrix(as.formula(paste("~", fixed)), rows)
  term <- c("overall", attr(terms(as.formula(paste("~", fixed))), "term.labels"))[attr(x, "assign") + 1]
  colnames(x) <- NULL
  reml <- fit(rows, response, x, random, TRUE)
  # Mean of every cell of sparsity x class, over architectures of equal weight: their columns sum to zero.
  cells <- expand.grid(class = levels(rows$class), sparsity = levels(rows$sparsity))
  weights <- matrix(0, nrow(cells), ncol(x))
  weights[, term != "architecture"] <- model.matrix(~ sparsity * class, cells)
  means <- as.numeric(weights %*% fixef(reml))
  se <- sqrt(diag(weights %*% as.matrix(vcov(reml)) %*% t(weights)))
  parts <- as.data.frame(VarCorr(reml))
  none <- rep(FALSE, length(term))
  interaction <- term == "sparsity:class"
  list(
    overall = list(estimate = as.numeric(fixef(reml)[1]), se = as.numeric(sqrt(vcov(reml)[1, 1]))),
    means = means, se = se,
    reml = loglik(reml), ml = loglik(fit(rows, response, x, random, FALSE)),
    variances = setNames(as.list(parts$vcov), parts$grp),
    tests = list(
      overall = test(rows, response, x, term == "overall", none, random),
      sparsity = test(rows, response, x, term == "sparsity", interaction, random),
      class = test(rows, response, x, term == "class", interaction, random),
      "sparsity:class" = test(rows, response, x, interaction, none, random)
    )
  )
}

nested <- "(1 | model) + (1 | model:class) + (1 | model:sparsity)"
emit(list(
  fixed = describe(rows, "difference", "sparsity * class + architecture", nested),
  random = describe(rows, "difference", "sparsity * class", paste("(1 | family) +", nested)),
  none = describe(droplevels(rows[rows$architecture == "cnn", ]), "difference", "sparsity * class", nested),
  boundary = describe(rows, "boundary", "sparsity * class + architecture", nested)
), "lme4")
