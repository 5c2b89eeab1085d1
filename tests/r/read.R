# What R reads of an array in a file: shape, type, sum, missing values, the first names of rows and columns.
# Arguments: kind, path and name.
suppressPackageStartupMessages(library(HDF5Array))
arguments <- commandArgs(trailingOnly = TRUE)
said <- tryCatch({
  x <- switch(arguments[1],
    dense = HDF5Array(arguments[2], arguments[3]),
    tenx = TENxMatrix(arguments[2], arguments[3]),
    h5ad = H5ADMatrix(arguments[2])
  )
  values <- as.matrix(x)
  first <- function(names) if (is.null(names)) "-" else paste(head(names, 2), collapse = ",")
  paste(paste(dim(x), collapse = "x"), type(x), format(sum(as.numeric(values), na.rm = TRUE), digits = 15),
        sum(is.na(values)), first(rownames(x)), first(colnames(x)), sep = "\t")
}, error = function(e) paste("error:", gsub("\n", " ", conditionMessage(e))))
cat(arguments[1], "\t", said, "\n", sep = "")
