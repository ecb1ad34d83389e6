"""mantid.api: workspaces, algorithms, the data service."""

from ._ads import AnalysisDataService, AnalysisDataServiceImpl, mtd  # noqa: F401
from ._algorithms import (  # noqa: F401
    Algorithm,
    AlgorithmFactory,
    AlgorithmFactoryImpl,
    AlgorithmManager,
    AlgorithmManagerImpl,
    AlgorithmObserver,
    AlgorithmProxy,
    DataProcessorAlgorithm,
    IAlgorithm,
    IPropertyManager,
    Progress,
    PythonAlgorithm,
)
from ._functions import FunctionFactory, FunctionFactoryImpl, IFunction, IFunction1D  # noqa: F401
from ._properties import (  # noqa: F401
    FileAction,
    FileProperty,
    IMDEventWorkspaceProperty,
    IMDHistoWorkspaceProperty,
    IMDWorkspaceProperty,
    ITableWorkspaceProperty,
    IWorkspaceProperty,
    LockMode,
    MatrixWorkspaceProperty,
    MultipleFileProperty,
    PropertyMode,
    WorkspaceGroupProperty,
    WorkspaceProperty,
)
from ._workspaces import (  # noqa: F401
    AlgorithmHistory,
    ExperimentInfo,
    IMDEventWorkspace,
    IMDHistoWorkspace,
    IMDWorkspace,
    ITableWorkspace,
    MatrixWorkspace,
    MDGeometry,
    MDNormalization,
    MultipleExperimentInfos,
    Run,
    Sample,
    Workspace,
    WorkspaceGroup,
    WorkspaceHistory,
)
