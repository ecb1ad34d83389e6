"""Functions for Fit: parameters, attributes, ties; the factory that makes them from texts."""

import re

_TERM = re.compile(r'\s*([\w.]+)=("[^"]*"|\([^)]*\)|[^,]*)(?:,|$)')


class IFunction:
    def __init__(self):
        self._m_parameters, self._m_attributes, self._m_fixed, self._m_constraints = {}, {}, set(), []

    def initialize(self):
        self.init()

    def name(self):
        return type(self).__name__

    def category(self):
        return "General"

    def declareParameter(self, name, init_value=0.0, description=""):
        if name in self._m_parameters:
            raise ValueError(f"ParamFunction parameter ({name}) already exists.")
        if not isinstance(init_value, float):
            raise TypeError(f"the value of {name} is a {type(init_value).__name__}")
        self._m_parameters[name] = init_value

    def declareAttribute(self, name, default_value):
        if not isinstance(default_value, bool | int | float | str):
            raise TypeError(f"no attribute is made from a {type(default_value).__name__}")
        self._m_attributes[name] = default_value
        self._m_told(name, default_value)

    def setAttributeValue(self, name, value):
        self._m_attributes[name] = value

    def _m_told(self, name, value):
        """Mantid keeps the value and then calls the method of the Python class, at the declaration too."""
        self._m_attributes[name] = value
        type(self).setAttributeValue(self, name, value)

    def getAttributeValue(self, name):
        return self._m_attributes[name]

    def attributeNames(self):
        return list(self._m_attributes)

    def hasAttribute(self, name):
        return name in self._m_attributes

    def hasParameter(self, name):
        return name in self._m_parameters

    def nParams(self):
        return len(self._m_parameters)

    def parameterName(self, i):
        return list(self._m_parameters)[i]

    def getParameterValue(self, i):
        return self._m_parameters[i if isinstance(i, str) else self.parameterName(i)]

    def setParameter(self, i, value, explicitlySet=True):
        name = i if isinstance(i, str) else self.parameterName(i)
        if name not in self._m_parameters:
            raise ValueError(f"ParamFunction parameter ({name}) does not exist.")
        self._m_parameters[name] = value

    def fixParameter(self, i, isDefault=False):
        self._m_fixed.add(i if isinstance(i, str) else self.parameterName(i))

    def isFixed(self, i):
        return self.parameterName(i) in self._m_fixed

    def addConstraints(self, constraints, isDefault=False):
        self._m_constraints.append(constraints)

    def getConstraints(self):
        return ",".join(self._m_constraints)


class IFunction1D(IFunction):
    pass


class FunctionFactoryImpl:
    def __init__(self):
        self._m_classes = {}

    def subscribe(self, object):
        for method in ("init", "function1D"):
            if not callable(getattr(object, method, None)):
                raise RuntimeError(f"{object.__name__} has no {method}")
        object().initialize()
        self._m_classes[object.__name__] = object

    def unsubscribe(self, class_name):
        self._m_classes.pop(class_name, None)

    def getFunctionNames(self):
        return list(self._m_classes)

    def createFunction(self, type):
        function = self._m_classes[type]()
        function.initialize()
        return function

    def createInitialized(self, init_expr):
        """From ``name=F,Attribute=text,Parameter=1.0``, in this order."""
        terms = _TERM.findall(init_expr)
        function = self.createFunction(dict(terms)["name"])
        for name, text in terms:
            text = text.strip('"')
            if function.hasAttribute(name):
                function._m_told(name, type(function.getAttributeValue(name))(text))
            elif name != "name":
                function.setParameter(name, float(text))
        return function


FunctionFactory = FunctionFactoryImpl()
